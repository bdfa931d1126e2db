"""The life of a cut, for any training loop: spectra, proposal, evidence, decision, surgery, rollback."""
