"""Status information of own CAs: kept fresh on a schedule, and watched for what is late or ends."""
