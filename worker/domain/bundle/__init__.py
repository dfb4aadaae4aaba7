"""From a solution to solution.zip: the same bytes for the same input.

blueprint.py reads what the author made of it, plan.py decides what will be deployed, manifests.py writes it down for
Kubernetes, archive.py puts everything into the zip. presentation.py cleans what users will see.
"""
