"""Tuneway for Airflow. Nothing is imported here: DAG files are parsed all the time."""
