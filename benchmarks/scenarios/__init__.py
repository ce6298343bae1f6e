"""What is measured. Each scenario is a function of the stage and one contender, for one round."""
