module greenlang-backup/tests/cluster/pause

go 1.25.0
