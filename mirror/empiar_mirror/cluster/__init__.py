"""Work on other machines that share the file system, through Dask: files are read and made there, and everything is decided and recorded here.

Three rules make a worker that is lost, or that wakes up late, harmless:

- Every piece of work is handed out under a *lease*, with a number that is never given twice. The catalogue knows the leases in force.
- A lease is good for one beginning. Its folder in ``staging/leases/`` is the only place that its worker writes to, and the
  worker first makes a folder in it, which fails if another has begun.
- An answer counts if its lease is in force when it comes. Then its folder is moved to where no worker knows it.
"""
