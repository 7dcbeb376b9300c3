"""What persons decide about, beside requests: domains that teams ask for, questions, deputies."""
