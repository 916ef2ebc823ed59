"""The central experiment: does a passive prior help to obey?"""
