# In the manner of the public examples of az's ml extension: deploy, look, score, roll out safely, clean up.
# Runs unchanged with az and, with "alias az=portico", against Portico.
set -e

az extension add -n ml -y
az account set -s 00000000-0000-0000-0000-000000000001
az configure --defaults group=portico workspace=main location=local

export ENDPOINT_NAME=endpt-sample

az ml online-endpoint create --name $ENDPOINT_NAME -f managed/sample/endpoint.yml >&2
az ml online-deployment create --name blue --endpoint $ENDPOINT_NAME \
  -f managed/sample/blue-deployment.yml --all-traffic >&2

endpoint_status=$(az ml online-endpoint show --name $ENDPOINT_NAME --query "provisioning_state" -o tsv)
echo "endpoint $endpoint_status"
if [[ $endpoint_status != "Succeeded" ]]; then
  echo "Endpoint creation failed"
  exit 1
fi
deploy_status=$(az ml online-deployment show --name blue --endpoint-name $ENDPOINT_NAME \
  --query "provisioning_state" -o tsv)
echo "blue $deploy_status"

az ml online-deployment get-logs --name blue --endpoint $ENDPOINT_NAME --lines 200 | grep --only-matching "the weight is 1" | head -n 1
az ml online-endpoint invoke --name $ENDPOINT_NAME --request-file managed/sample/sample-request.json -o tsv

ENDPOINT_KEY=$(az ml online-endpoint get-credentials -n $ENDPOINT_NAME -o tsv --query primaryKey)
SCORING_URI=$(az ml online-endpoint show -n $ENDPOINT_NAME -o tsv --query scoring_uri)
curl --silent --fail --cacert "$CA" --request POST "$SCORING_URI" --header "Authorization: Bearer $ENDPOINT_KEY" \
  --header 'Content-Type: application/json' --data @managed/sample/sample-request.json
echo

az ml online-deployment update --name blue --endpoint-name $ENDPOINT_NAME --set instance_count=2 \
  --query "instance_count" -o tsv
az ml online-deployment create --name green --endpoint-name $ENDPOINT_NAME \
  -f managed/sample/green-deployment.yml >&2
az ml online-endpoint show -n $ENDPOINT_NAME --query "traffic.[blue, green]" -o tsv | xargs echo traffic
az ml online-endpoint invoke --name $ENDPOINT_NAME --deployment-name green \
  --request-file managed/sample/sample-request.json -o tsv

az ml online-endpoint update --name $ENDPOINT_NAME --mirror-traffic "green=10" \
  --query "[mirror_traffic.green, traffic.green]" -o tsv | xargs echo mirror
az ml online-endpoint update --name $ENDPOINT_NAME --mirror-traffic "green=0" >&2
az ml online-endpoint update --name $ENDPOINT_NAME --traffic "blue=90 green=10" \
  --query "traffic.[blue, green]" -o tsv | xargs echo traffic
az ml online-endpoint update --name $ENDPOINT_NAME --traffic "blue=0 green=100" >&2
az ml online-endpoint invoke --name $ENDPOINT_NAME --request-file managed/sample/sample-request.json -o tsv

az ml online-deployment delete --name blue --endpoint $ENDPOINT_NAME --yes >&2
az ml online-deployment list --endpoint-name $ENDPOINT_NAME --query "[].name" -o tsv
az ml online-endpoint delete --name $ENDPOINT_NAME --yes >&2
