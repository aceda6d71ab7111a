"""The stochastic multi-modal VAE of Yadav et al., Interspeech 2020: one file per box of its Figure 2."""
