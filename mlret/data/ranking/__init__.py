"""Training data for retrieval: queries with passages that answer them and passages that do not, in any of its forms."""

from mlret.data.ranking.example import RankingExample
from mlret.data.ranking.formats import FORMATS, Format
from mlret.data.ranking.opening import RankingSource
from mlret.data.ranking.reader import RankingReader, read_ranking

__all__ = ["FORMATS", "Format", "RankingExample", "RankingReader", "RankingSource", "read_ranking"]
