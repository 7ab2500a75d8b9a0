"""What trains and evaluates a tagger: arguments, data, collator, metric, optimizer groups, trainer, reports."""
