"""From clips to batches: decoding, the cache of waveforms and features, samplers and the LightningDataModule."""
