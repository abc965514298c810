"""A web page for one model: upload or record a sound, and see what the model recognises. It needs no network."""
