# An ASA that consists of the command `grasp` alone. CHURN_NAME is what it offers, CHURN_VALUE what it says there, CHURN_GRASP
# the command. It tells its test what happens, and begins again when the node has gone.
while :; do
    "$CHURN_GRASP" flood "$CHURN_NAME.tick" "$CHURN_VALUE" --every 500 --ttl 3s
    sleep 0.2
done &
while :; do
    "$CHURN_GRASP" publish "$CHURN_NAME" "$CHURN_VALUE" --every 0
    echo "gone $?"
    sleep 0.2
done
