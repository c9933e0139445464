"""Files in, files out: cases x seeds -> synthesizer -> images, masks, labels, manifest, datalist and a page.

``cases`` (``folders``, ``datalists``) -> ``files`` (``pictures``, ``volumes``) -> ``inputs`` -> ``order`` ->
``offline`` (``shards``, ``writer``, ``manifest``, ``runfile``) -> ``report``, ``gallery``; and back by ``replay``.
``door`` is what a bundle's ``inference.json`` calls; ``handover`` is for other tools.
"""
