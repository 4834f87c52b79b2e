"""Whether a picture shows a face, and where its eyes, nose and mouth are."""
