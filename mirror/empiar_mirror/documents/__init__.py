"""Documents that let others check and cite a layout without our software: BagIt, RO-Crate, Croissant.

They stand in ``manifests/<id>/<view>``, beside a link ``data`` to the layout, and follow its ``mapping.tsv``.
"""
