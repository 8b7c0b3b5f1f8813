"""An index that is divided into shards, each of which is an ordinary index, with the hits of an undivided one."""
