// The columns about a job in tables.
{
  jobs: [
    {
      field: 'request_id',
      title: 'Job',
      width: 320,
      link: {
        title: 'This job',
        url: '/d/deepaffects-jobs?${__url_time_range}&${datasource:queryparam}&var-account=${__data.fields.Account:percentencode}&var-request_id=${__value.raw:percentencode}',
      },
    },
    { field: 'account', title: 'Account' },
    { field: 'api', title: 'API' },
  ],
}
