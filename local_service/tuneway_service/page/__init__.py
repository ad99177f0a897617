"""A page to look at: jobs, curves, files, and a box to ask a model. Rendered here, no build step, no network."""
