"""The pages: where a person looks at datasets, experiments and runs; `blueprint.py` lists them."""
