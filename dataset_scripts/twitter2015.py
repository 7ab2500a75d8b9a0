"""Twitter-2015 (Zhang et al., AAAI 2018), in the form of Twitter-2017.

Several copies are about: the original, whose gold tags hold 374 illegal I- tags, and some with corrected labels, such
as the one that HVPNeT's authors share. Scores on them do not compare; the counts tell them apart (`published_counts`).
"""

from .twitter2017 import Twitter2017


class Twitter2015(Twitter2017):
    """Twitter-2015: ``train.txt``, ``valid.txt`` and ``test.txt``, pictures ``<id>.jpg``."""

    CORPUS = "twitter2015"
    TITLE = "Twitter-2015"
    CITATION = "Zhang et al., Adaptive Co-attention Network for Named Entity Recognition in Tweets, AAAI 2018"
    IMAGE_ROOTS = ("twitter2015_images", "twitter2015_images.zip")
