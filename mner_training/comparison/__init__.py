"""Systems compared fairly: what to run, the runs, and the table that is made from what they left."""
