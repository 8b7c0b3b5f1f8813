"""Read training data for retrieval, in many formats: queries with relevant and irrelevant passages."""

from mlret.data.ranking.example import RankingExample
from mlret.data.ranking.formats import FORMATS, Format
from mlret.data.ranking.opening import RankingSource
from mlret.data.ranking.reader import RankingReader, read_ranking

__all__ = ["FORMATS", "Format", "RankingExample", "RankingReader", "RankingSource", "read_ranking"]
