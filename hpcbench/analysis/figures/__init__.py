"""Every figure of a report, a file each; a line joins only points that are comparable."""
