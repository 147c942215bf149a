// Deploys a release of erase-user-files with the AWS CDK, from the template and the zip file that `make package` writes.
// docs/install.md explains the steps.
const { App, Stack } = require('aws-cdk-lib');
const { Asset } = require('aws-cdk-lib/aws-s3-assets');
const { CfnInclude } = require('aws-cdk-lib/cloudformation-include');

class EraseUserFiles extends Stack {
  // `release` is the path of a release without file extensions: FOLDER/erase-user-files-VERSION-ARCHITECTURE. The template
  // and the zip file have the same name, so they are for the same architecture.
  constructor(scope, id, { release, ...properties }) {
    super(scope, id, properties);
    const code = new Asset(this, 'Code', { path: `${release}.zip` });
    new CfnInclude(this, 'Template', {
      templateFile: `${release}-bucket.yaml`,
      parameters: { CodeBucket: code.s3BucketName, CodeKey: code.s3ObjectKey },
    });
  }
}

const app = new App();
const release = app.node.tryGetContext('release');
if (!release) throw new Error('The context "release" is missing. For example: cdk deploy --context release=FOLDER/erase-user-files-0.1.0-arm64');
new EraseUserFiles(app, 'erase-user-files', { release });
