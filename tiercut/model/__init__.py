"""A bundle, its cuts and the segments between them. Making bundles is in `authoring`, keeping them in `repository`."""
