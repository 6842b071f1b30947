"""What several verbs compose out of the rooms: configs, tasks, probes, pictures. Importable by workers."""
