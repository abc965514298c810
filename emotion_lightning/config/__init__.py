"""What a run is asked to do: experiment files, their schema, the parts by name, and the ranks of a distributed run."""
