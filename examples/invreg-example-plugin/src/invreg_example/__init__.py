"""A plugin for invreg: a moving average, Landweber iteration, errors near edges."""
