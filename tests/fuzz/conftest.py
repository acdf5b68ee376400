"""The fuzzer is no test: it runs for as long as it is told to, with atheris, as docs/bundle.md says."""

collect_ignore = ["atheris_readers.py"]
