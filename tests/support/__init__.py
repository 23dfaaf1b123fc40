"""What the process-level tests share: clients, processes, clusters, a cutting proxy. Python 3.11, standard library only."""
