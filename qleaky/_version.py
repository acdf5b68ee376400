"""The package's version, which artefacts carry."""

VERSION = "0.1.0"
