"""A web page for one model: upload or record a sound, see what the model recognises. It needs no network and keeps no recording."""
