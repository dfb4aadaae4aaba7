"""Turn a solution into solution.zip: the same input gives the same bytes.

- blueprint.py reads the pipeline as its author wrote it.
- protobuf.py, protobuf_names.py and protobuf_options.py read and check the .proto files.
- plan.py decides what will be deployed.
- manifests.py renders the plan as Kubernetes manifests.
- archive.py packs all files into the zip.
- presentation.py cleans the picture and the description that users will see.
"""
