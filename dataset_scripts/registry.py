"""The corpora by name."""

from .folder import FolderPosts
from .mner_mi import MNERMI
from .mner_mi_plus import MNERMIPlus
from .pictured_posts import PicturedPosts
from .twitter2015 import Twitter2015
from .twitter2017 import Twitter2017

BUILDERS = {
    builder.CORPUS: builder for builder in (MNERMI, MNERMIPlus, Twitter2017, Twitter2015, PicturedPosts, FolderPosts)
}
