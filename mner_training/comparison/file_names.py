"""What the files are called that a comparison and its runs leave."""

COMPARISON_FILE = "comparison.json"
TRAINING_ENTITIES_FILE = "training_entities.json"
# Of a run: its arguments, which `python run_mner.py` takes; what that has left; and that it is done.
RECIPE_FILE = "recipe.json"
RECORD_FILE = "run.json"
RESULTS_FILE = "all_results.json"
PREDICTIONS_FILE = "predictions.jsonl"
RUN_FILE = "comparison_run.json"
