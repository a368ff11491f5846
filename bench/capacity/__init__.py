"""A full site: what its streams get together, beside what each way of planning gives, on real programs and lines."""
