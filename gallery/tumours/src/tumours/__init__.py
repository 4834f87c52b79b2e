"""Whether a tumour of the breast is malignant, from what a microscope shows of its cells."""
