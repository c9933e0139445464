"""DICOM in and out (extra ``[dicom]``) and PACS (extra ``[pacs]``).

files -> grouping -> geometry, pixels -> reader -> images (``DicomImage``) -> synthesis -> derived -> segmentation ->
checks -> export; peers pull and push what lies in folders.
"""
