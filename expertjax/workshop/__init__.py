"""The studio: a local page on which people find units, look at them and steer.

The room is called so because `expertjax.studio` is the façade's function.
"""
