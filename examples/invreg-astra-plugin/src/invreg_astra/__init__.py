"""Projectors of the ASTRA toolbox as an operator of invreg."""
