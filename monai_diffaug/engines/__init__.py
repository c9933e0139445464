"""Training of the bundle's networks on ignite's and MONAI's engines."""
