"""Vision-language-action networks: architectures, preprocessing, statistics, adapters and checkpoint folders.

Independent of environments.
"""
