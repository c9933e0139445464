"""A generated folder handed over to other tools, with the real cases that it is used with.

``generated`` and ``real`` (``groups``) -> ``case_sets``: which sample may train beside which held-out case ->
``class_table``, ``case_files`` -> ``staging``, with ``notice`` -> ``monai_datalist``, ``nnunet`` (``folds``), ``coco``
(``instances``) or ``provenance_table``.
"""
