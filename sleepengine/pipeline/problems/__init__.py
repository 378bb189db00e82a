"""What is learned by what: data sets, their splits and tasks, and the models for them."""
