"""Pixels: reading images within bounds, and what is made of them: pictures, frame averages, particle stacks.

`render` is the door for a process pool: small requests in, small results out, and cheap to import.
"""
