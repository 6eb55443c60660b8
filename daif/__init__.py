"""Deep active inference control (Yeganeh et al., arXiv 2505.19867)."""
