"""A plugin for invreg: motion blur, Landweber iteration, errors near edges."""
